with

final as (

    {{ experiment_rows('blend') }}

)

select * from final
