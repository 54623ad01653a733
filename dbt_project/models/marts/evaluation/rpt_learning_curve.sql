with

final as (

    {{ experiment_rows('learning_curve') }}

)

select * from final
