with

final as (

    {{ experiment_rows('tsfresh') }}

)

select * from final
